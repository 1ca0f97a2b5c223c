"""Worker processes under Dask `distributed`, on this machine or on many. The only package that knows Dask."""
