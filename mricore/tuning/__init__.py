"""Ray Tune studies over whole pretrainings."""
