"""The service that is rolled out: a small app over HTTP or gRPC, with a fault switch of its own."""
