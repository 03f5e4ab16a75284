"""The network: backbone, attention, shared and specific branch."""
