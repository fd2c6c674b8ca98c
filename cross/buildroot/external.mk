include $(sort $(wildcard $(BR2_EXTERNAL_EMBRUN_PATH)/package/*/*.mk))
