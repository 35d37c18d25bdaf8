"""The drawings of the README, the lessons and the docs, one script each, and beside it the SVG that it draws.

`python -m pictures` draws all anew. A script NAME.py has `draw()`, which returns the text of NAME.svg. Where a picture
shows what was measured, it also has `measure()`, whose answer is kept in numbers/NAME.json, so that the rounding of a
machine changes no picture.
"""
