//! Remote sources: HTTP servers and OCI registries.
