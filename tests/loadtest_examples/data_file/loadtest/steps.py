def log_in(client, user):
    client.post("/login", json={"user": user}, name="/login")
