"""The training itself: from tensors to tensors. It knows neither storage, nor logs, nor where records lie."""
