"""What is OpenAI's alone: responses and embeddings."""
