"""What the cross-service tests share: a short run of the whole chain, and who judges it."""
