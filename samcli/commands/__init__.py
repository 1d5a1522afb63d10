"""The commands that work through a folder of images, one file each: its job, and what it does with an image."""
