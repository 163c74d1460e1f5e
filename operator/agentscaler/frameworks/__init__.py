"""One declarative module per agent framework: metric names, defaults, native settings."""
