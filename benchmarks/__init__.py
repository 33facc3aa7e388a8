"""What a deployment costs besides its engine, each figure against another of the same run (`make bench`)."""
