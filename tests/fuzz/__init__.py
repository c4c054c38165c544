"""schemathesis over `/openapi.json`, on a world with records its calls can be about."""
