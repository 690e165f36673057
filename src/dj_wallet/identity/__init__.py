"""Who is asking: the user model of the service and the API keys of programs."""
