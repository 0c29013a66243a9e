"""Character images rendered from fonts, and Chars74K."""
