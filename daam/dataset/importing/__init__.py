"""From a data set's folder to a domain in a store."""
