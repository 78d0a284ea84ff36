"""Folders of language models, as they are published, read as the model that runs them.

config.py reads what a folder says about itself, folder.py its weights; internlm.py and mixtral.py know layouts that are
not those of the running model.
"""
