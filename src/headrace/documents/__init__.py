"""Document stores: their rows, chunks and files, how they are filled, and how flows search them."""
