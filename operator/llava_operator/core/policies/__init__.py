"""One file per policy: each looks at a situation and either decides or leaves it to the next."""
