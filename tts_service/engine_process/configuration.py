"""The configuration on its way to another process of the same release."""

import json

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from tts_service.config import ServiceConfig


def written_config(config: ServiceConfig) -> str:
    """Return a configuration as JSON, for another process of this release."""
    return config.model_dump_json()


def read_config(text: str) -> ServiceConfig:
    """Return the configuration in JSON; file and environment, which may have changed, have no say in it."""

    class Written(ServiceConfig):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del settings_cls, env_settings, dotenv_settings, file_secret_settings
            return (init_settings,)

    read = Written(**json.loads(text))
    return ServiceConfig.model_construct(**{name: getattr(read, name) for name in ServiceConfig.model_fields})
