"""The lessons in a browser: as a folder of pages that ask for nothing from anywhere, and live."""
