"""timm and transformers models by repository name on the Hugging Face hub."""
