"""Drives jobs through their stages, on a cluster or on this machine."""
