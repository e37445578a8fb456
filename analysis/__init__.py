"""Evidence -> verdict: samples, anytime-valid tests, the judge, and the rules of others. Pure."""
