"""The families of models in the words of those who buy them."""

VENDORS = {"anthropic": "Anthropic", "openai": "OpenAI", "glm": "Z.AI"}
"""Who makes the models of a family."""
SERIES = {"anthropic": "Claude", "openai": "GPT", "glm": "GLM"}
"""What they are called."""
