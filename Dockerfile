# For the Astro CLI (`astro dev start`). Not run where this was written: there was no Docker engine.
# Any Runtime tag whose Airflow is the one that requirements.txt pins will do; it installs requirements.txt itself.
FROM astrocrpublic.azurecr.io/runtime:3.3-8

# The provider (connection types) and the packages `include` and `listkeeper` are found here, in every process.
ENV PYTHONPATH=/usr/local/airflow:/usr/local/airflow/plugins

# Owned by the image's user, so that the volume that the containers share is too.
RUN mkdir -p /usr/local/airflow/.listkeeper
