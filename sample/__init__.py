"""The service that is rolled out: one small HTTP app with a fault switch of its own."""
