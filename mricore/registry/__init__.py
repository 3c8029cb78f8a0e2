"""MLflow model versions, cards and aliases."""
