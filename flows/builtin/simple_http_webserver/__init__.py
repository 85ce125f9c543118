"""The builtin job type ``simple_http_webserver``."""
