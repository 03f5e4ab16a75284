"""One run: its folder, its checkpoints, and training it in this process.

run_folder     what lies in the folder; starting, opening, abandoning a run
checkpoint     a state on disk or S3: stored, found, loaded
worker         training from settings to the last epoch: one run, or several in lockstep
results        what was found out about a finished run
card           its model card
report/        report.html, and runs compared
tracking       TensorBoard, MLflow, Weights & Biases, trackio
preparation    the domains a run or study needs, checked or rendered before it starts
demo_domains   the rendered domains of the demo
"""
