"""Data sampling: documents -> token shards -> (inputs, targets), both (B, T), targets shifted by one."""
