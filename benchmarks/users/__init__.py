"""Programs at A that want something of the service, each in its own way; of the part `library`."""
