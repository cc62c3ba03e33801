"""What only the simulated OpenAI speaks: responses and embeddings."""
