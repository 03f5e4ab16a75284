"""The network: backbone, attention, shared and specific branch.

`network`: the whole and its output. `backbone`, `weights`: feature maps and their initial weights.
`attention`: the split of a feature map. `branches`, `pooling`, `heads`: what follows it. `norm`:
batch norm for two domains.
"""
