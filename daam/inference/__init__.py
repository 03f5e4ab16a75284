"""Trained runs in use: embed, evaluate, export, search.

embedder       a run's newest checkpoint, opened to embed a domain; contract: how it embeds
embedding      a folder of images to arrays or a Parquet file
evaluation     scores, a threshold and re-ranking on a domain's query and gallery
unlabelled     what `evaluate` does without labels; views: the changed images it embeds
assessment     scores without labels, and an estimate of mAP from them (assessment_fit.json)
pictures       what `evaluate` draws
export         ONNX and PyTorch files; deployed: the module in them
search/        the images of a gallery that show the person on a photo
"""
