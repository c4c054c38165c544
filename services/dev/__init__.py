"""The embedded development stack behind `grantgate up`: servers, services, demo upstream."""
