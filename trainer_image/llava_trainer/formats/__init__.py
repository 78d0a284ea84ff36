"""Folder layouts that other programs load; each format knows its own key names and files and nothing of the others."""
