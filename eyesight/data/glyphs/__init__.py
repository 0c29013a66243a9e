"""Character images drawn from fonts, and Chars74K."""
