"""A file a page of `tinygpt/models/`: what its model is checked on, and the mistakes it is usually made with."""
