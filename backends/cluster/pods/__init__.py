"""The Deployments and pods of both tracks."""
