"""The model and data core: from a folder of radiographs to a scored classifier. Knows nothing of tuning."""
