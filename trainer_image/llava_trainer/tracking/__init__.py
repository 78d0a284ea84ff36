"""Telling the world how a stage is getting on."""
