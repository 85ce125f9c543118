"""What tests share: real servers, and what else more than one kind of test needs."""
