"""Finding a person: the images of a gallery that are nearest to a photo.

gallery      the images to search: of a domain, or of any folder
embedded     their embeddings, kept on the disk; exact search in them
index        an approximate index of them, for millions of images
choice       which of them are searched: by camera, by time
threshold    below which distance two images show one person
search       a run, a gallery and photos -> matches
page         the matches as a sheet, a page and JSON
"""
