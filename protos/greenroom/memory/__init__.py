"""Generated wire contract; see the .proto files beside the stubs."""
