//! Tests of the store against a fake Hub on this machine and a fake python3.
