"""Hears recordings: an ensemble of predictors analyses them, a provider transcribes them."""
