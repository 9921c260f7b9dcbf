"""The page that collects the clicks, and shows at once what comes of them."""
