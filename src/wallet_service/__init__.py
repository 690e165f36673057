"""The Django project that runs dj_wallet as a service: settings, URLs, Celery, supervisor."""
