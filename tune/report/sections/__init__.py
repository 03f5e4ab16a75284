"""The sections of a study's page, each from the record of the study to HTML."""
